package transport

import "sync"

// pageBytes is what is read at once: room for nearly every head with the first of its body, and for a TLS record.
const pageBytes = 16 << 10

type page [pageBytes]byte

// bulkBytes is what is read at once of a body of which much is still to come.
const bulkBytes = 64 << 10

type bulk [bulkBytes]byte

var bulks = sync.Pool{New: func() any { return new(bulk) }}

// pages lend memory to connections on which something is in flight.
var pages = sync.Pool{New: func() any { return new(page) }}

func takePage() *page { return pages.Get().(*page) }

func (p *page) release() {
	if p != nil {
		pages.Put(p)
	}
}
