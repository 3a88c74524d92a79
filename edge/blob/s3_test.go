package blob_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/medley-lora/medley/edge/blob/blobtest"
)

// The server is a stand-in that speaks S3: it holds our use of the protocol to the contract, not Amazon's service.
func TestS3(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	backend := s3mem.New()
	server := httptest.NewServer(gofakes3.New(backend).Server())
	defer server.Close()
	var buckets atomic.Int32
	blobtest.Run(t, func(t *testing.T) string {
		name := fmt.Sprint("bucket", buckets.Add(1))
		if err := backend.CreateBucket(name); err != nil {
			t.Fatal(err)
		}
		return "s3://" + name + "?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL)
	})
}
