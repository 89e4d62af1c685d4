package http2

import (
	"encoding/binary"
	"math/bits"
)

// huffmanLengths are how many bits the codes of bytes have (RFC 7541 appendix B). They say it all: the code is canonical, that is, of two codes
// the longer one is the larger, and of two of one length that of the larger byte is.
var huffmanLengths = [256]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
}

const (
	huffmanShort   = 10 // bits of the codes that are looked up at once: those of nearly all that stands in fields
	huffmanLongest = 30
)

// huffman is what decodes: by the next bits where those are enough, and else by where the codes of each length begin. Codes are at the upper end
// of their words here.
var huffman = func() (t struct {
	short [1 << huffmanShort]struct{ symbol, bits uint8 } // bits 0: the code is longer
	end   [huffmanLongest + 1]uint64                      // what is below is a code of this length, or of a smaller one
	first [huffmanLongest + 1]uint32
	index [huffmanLongest + 1]int // where in symbols the first is
	// symbols are the bytes in the order of their codes.
	symbols [256]uint8
}) {
	code, n := uint32(0), 0
	for length := 1; length <= huffmanLongest; length++ {
		t.first[length], t.index[length] = code, n
		step := uint32(1) << (32 - length)
		for symbol, l := range huffmanLengths {
			if int(l) != length {
				continue
			}
			if length <= huffmanShort {
				from := code >> (32 - huffmanShort)
				for i := range uint32(1) << (huffmanShort - length) {
					t.short[from+i] = struct{ symbol, bits uint8 }{uint8(symbol), uint8(length)}
				}
			}
			t.symbols[n] = uint8(symbol)
			code, n = code+step, n+1
		}
		t.end[length] = uint64(code)
	}
	return t
}()

// huffmanRoom is how many bytes n coded ones can stand for.
func huffmanRoom(n int) int { return n*8/5 + 1 }

// appendHuffman decodes a string (section 5.2). It is false if that is none: with the code that ends a string in it, or with padding that is not
// the beginning of that, or is a byte and more.
func appendHuffman(dst, src []byte) ([]byte, bool) {
	var word uint64 // what comes next, at the upper end
	have := 0       // bits
	for {
		if have <= 32 {
			if len(src) >= 4 {
				word |= uint64(binary.BigEndian.Uint32(src)) << (32 - have)
				src, have = src[4:], have+32
			} else {
				for ; len(src) > 0; src = src[1:] {
					word |= uint64(src[0]) << (56 - have)
					have += 8
				}
			}
		}
		s := huffman.short[word>>(64-huffmanShort)]
		symbol, n := s.symbol, int(s.bits)
		if n == 0 {
			code := uint32(word >> 32)
			for n = huffmanShort + 1; n <= huffmanLongest && uint64(code) >= huffman.end[n]; n++ {
			}
			if n <= huffmanLongest {
				symbol = huffman.symbols[huffman.index[n]+int((code-huffman.first[n])>>(32-n))]
			}
		}
		if n > have { // what is left is no code
			return dst, have < 8 && bits.LeadingZeros64(^word) >= have
		}
		if n > huffmanLongest {
			return dst, false
		}
		dst = append(dst, symbol)
		word, have = word<<n, have-n
	}
}
