package announce

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Owner gives the candidate, a node's name, that answers for an address; "" if there is none. Every node that has the same candidates comes to
// the same owner, in whatever order they are.
//
// It is rendezvous hashing: each candidate's score is XXH64, seed 0, of its name, a zero byte, and the address as text in its canonical form
// (RFC 5952), and the highest score wins; of equal scores the lesser name. So if a candidate goes, only its own addresses move, evenly to the
// others, and if one comes it takes only what will be its own. The hash is part of the contract between nodes of different versions.
func Owner(addr netip.Addr, candidates []string) string {
	text := "\x00" + addr.Unmap().WithZone("").String()
	var owner string
	var best uint64
	for i, name := range candidates {
		score := xxhash.Sum64String(name + text)
		if i == 0 || score > best || score == best && name < owner {
			owner, best = name, score
		}
	}
	return owner
}
