package checkpoint

import "syscall"

// adviseDontNeed drops mapped pages from resident memory. It is advice: a refusal costs memory, not correctness.
func adviseDontNeed(pages []byte) { _ = syscall.Madvise(pages, syscall.MADV_DONTNEED) }
