package model

import (
	"slices"
	"strings"
)

// Labels is a set of Kubernetes labels in one canonical form, "app=web,version=v1", sorted by key, so that equal sets are equal strings. Neither
// keys nor values of labels can hold '=' or ','.
type Labels string

// MakeLabels gives the canonical form.
func MakeLabels(set map[string]string) Labels {
	pairs := make([]string, 0, len(set))
	for k, v := range set {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return Labels(strings.Join(pairs, ","))
}

// Get gives the value of a key.
func (l Labels) Get(key string) (value string, ok bool) {
	for pair := range strings.SplitSeq(string(l), ",") {
		if v, found := strings.CutPrefix(pair, key+"="); found {
			return v, true
		}
	}
	return "", false
}

// Match tells whether every pair of the selector is among the labels. The empty selector matches everything.
func (l Labels) Match(selector Labels) bool {
	if selector == "" {
		return true
	}
	for pair := range strings.SplitSeq(string(selector), ",") {
		if !slices.Contains(strings.Split(string(l), ","), pair) {
			return false
		}
	}
	return true
}
