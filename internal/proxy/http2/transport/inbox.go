package transport

import "sync"

// inbox is what came of a body and was not read. The windows bound it.
type inbox struct {
	head, tail *chunk
	bytes      int
}

// chunk is memory of one of two sizes: a small message does not hold much.
type chunk struct {
	next *chunk
	r, w int
	b    []byte
}

const (
	smallChunk = 1 << 10
	largeChunk = 16 << 10
)

var (
	smallChunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, smallChunk)} }}
	largeChunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, largeChunk)} }}
)

func (in *inbox) put(p []byte) {
	in.bytes += len(p)
	for len(p) > 0 {
		if in.tail == nil || in.tail.w == len(in.tail.b) {
			pool := &largeChunks
			if len(p) <= smallChunk {
				pool = &smallChunks
			}
			k := pool.Get().(*chunk)
			if in.tail == nil {
				in.head = k
			} else {
				in.tail.next = k
			}
			in.tail = k
		}
		n := copy(in.tail.b[in.tail.w:], p)
		in.tail.w += n
		p = p[n:]
	}
}

func (in *inbox) take(p []byte) (n int) {
	for n < len(p) && in.head != nil {
		k := in.head
		m := copy(p[n:], k.b[k.r:k.w])
		k.r, n = k.r+m, n+m
		if k.r == k.w {
			in.drop()
		}
	}
	in.bytes -= n
	return n
}

// drop gives the first chunk back.
func (in *inbox) drop() {
	k := in.head
	if in.head = k.next; in.head == nil {
		in.tail = nil
	}
	k.next, k.r, k.w = nil, 0, 0
	if len(k.b) == smallChunk {
		smallChunks.Put(k)
	} else {
		largeChunks.Put(k)
	}
}

// clear throws everything away and tells how much that was.
func (in *inbox) clear() (n int) {
	for in.head != nil {
		in.drop()
	}
	n, in.bytes = in.bytes, 0
	return n
}
