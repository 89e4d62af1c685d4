// Package jwks owns the keys that issuers of tokens publish (JWKS, RFC 7517): it fetches those that objects ask for by URL, and again from time to
// time, and keeps in a table what it last had. Proxies are told the keys and never fetch any.
//
// What is fetched is bounded in time and size. A server that cannot be reached, or answers nonsense, costs nothing that was had before, and is told
// with the keys. It never verifies a token.
package jwks

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Kind is the kind of the table's rows.
const Kind = "KeySet"

// Key is where in the table the keys at a URL are.
func Key(url string) store.Key { return store.Key{Name: url} }

// NewTable adds the table to s.
func NewTable(s *store.Store) *store.Table[model.KeySet] {
	return store.NewTable(s, Kind, func(k *model.KeySet) store.Key { return Key(k.URL) }, func(a, b *model.KeySet) bool { return *a == *b })
}

// Check says what is wrong with a text that is to be a JWKS. private tells whether it holds what only the issuer should know.
func Check(text string) (private bool, err error) {
	var set struct {
		Keys []struct {
			Type    string          `json:"kty"`
			Private json.RawMessage `json:"d"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return false, fmt.Errorf("is no JWKS: %w", err)
	}
	if len(set.Keys) == 0 {
		return false, errors.New("has no keys")
	}
	for i, k := range set.Keys {
		if k.Type == "" {
			return false, fmt.Errorf("keys[%d] has no kty", i)
		}
		private = private || len(k.Private) > 0
	}
	return private, nil
}
