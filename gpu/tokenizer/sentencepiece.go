package tokenizer

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/medley-lora/medley/shared/fault"
)

// maxExtraIDs bounds the sentinels; T5 has 100.
const maxExtraIDs = 10_000

// Types of a piece in sentencepiece_model.proto that are not plain text.
const (
	pieceUnknown     = 2
	pieceControl     = 3
	pieceUserDefined = 4
)

// spiece is what is used of a SentencePiece model (sentencepiece_model.proto, message ModelProto).
type spiece struct {
	pieces   []piece
	types    []uint64 // by piece
	model    uint64   // 1 unigram, 2 BPE, 3 word, 4 character
	suffix   bool     // white space ends a word instead of starting it
	charsmap []byte
}

// FromSentencePiece reads a SentencePiece unigram model and appends extraIDs sentinels, <extra_id_0> last, as Hugging Face
// does for T5. As there, the model's own white-space options and byte fallback play no part. Errors are Invalid,
// Unsupported or TooLarge.
func FromSentencePiece(data []byte, extraIDs int) (*Tokenizer, error) {
	if extraIDs < 0 || extraIDs > maxExtraIDs {
		return nil, fault.New(fault.Invalid, "extra_ids", "must be 0 to %d", maxExtraIDs)
	}
	m, err := parseSentencePiece(data)
	if err != nil {
		return nil, err
	}
	if m.model != 1 {
		return nil, fault.New(fault.Unsupported, "model_type", "SentencePiece model type %d is not supported, only unigram (1)", m.model)
	}
	if m.suffix {
		return nil, fault.New(fault.Unsupported, "treat_whitespace_as_suffix", "is not supported")
	}
	unknown := -1
	var added []addedToken
	add := func(id int, special bool) {
		added = append(added, addedToken{ID: int32(id), Content: m.pieces[id].text, Special: special})
	}
	for id, kind := range m.types {
		switch kind {
		case pieceUnknown:
			if unknown >= 0 {
				return nil, fault.New(fault.Invalid, "pieces", "%d and %d are both the unknown piece", unknown, id)
			}
			unknown = id
			add(id, true)
		case pieceControl:
			add(id, true)
		case pieceUserDefined:
			add(id, false)
		}
	}
	for i := extraIDs - 1; i >= 0; i-- {
		m.pieces = append(m.pieces, piece{text: fmt.Sprintf("<extra_id_%d>", i)})
		add(len(m.pieces)-1, true)
	}
	return assemble(m.charsmap, m.pieces, unknown, added, endToken)
}

func parseSentencePiece(data []byte) (*spiece, error) {
	m := &spiece{model: 1}
	err := eachField(data, func(num protowire.Number, v field) error {
		switch num {
		case 1:
			if len(m.pieces) == maxPieces {
				return fault.New(fault.TooLarge, "pieces", "more than %d are not supported", maxPieces)
			}
			return m.addPiece(v.bytes)
		case 2: // trainer_spec
			return eachField(v.bytes, func(num protowire.Number, v field) error {
				switch num {
				case 3:
					m.model = v.number
				case 24:
					m.suffix = v.number != 0
				}
				return nil
			})
		case 3: // normalizer_spec
			return eachField(v.bytes, func(num protowire.Number, v field) error {
				if num == 2 {
					m.charsmap = v.bytes
				}
				return nil
			})
		}
		return nil
	})
	return m, err
}

func (m *spiece) addPiece(data []byte) error {
	p, kind := piece{}, uint64(1)
	err := eachField(data, func(num protowire.Number, v field) error {
		switch num {
		case 1:
			p.text = string(v.bytes)
		case 2:
			p.score = float64(math.Float32frombits(uint32(v.number)))
		case 3:
			kind = v.number
		}
		return nil
	})
	m.pieces, m.types = append(m.pieces, p), append(m.types, kind)
	return err
}

// field is the value of one protobuf field: number for varints and 32-bit values, bytes for strings and messages.
type field struct {
	number uint64
	bytes  []byte
}

// eachField calls f for the fields of a message in order; the bytes alias data.
func eachField(data []byte, f func(protowire.Number, field) error) error {
	for len(data) > 0 {
		num, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fault.Wrap(protowire.ParseError(n), fault.Invalid, "", "is not a SentencePiece model")
		}
		data = data[n:]
		var v field
		switch kind {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var bits uint32
			bits, n = protowire.ConsumeFixed32(data)
			v.number = uint64(bits)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(num, kind, data)
		}
		if n < 0 {
			return fault.Wrap(protowire.ParseError(n), fault.Invalid, "", "is not a SentencePiece model")
		}
		data = data[n:]
		if err := f(num, v); err != nil {
			return err
		}
	}
	return nil
}
