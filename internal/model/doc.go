// Package model is weft's one vocabulary of traffic. Everything that lowers an API produces these values, everything that carries traffic
// consumes them, and neither side knows the other.
//
// Values are immutable once handed over: whoever receives one may keep it and share it, nobody may change it. Every element carries the
// [Origin] it was declared in, so that a finding, a status page or an access log can always name the object and the field behind a decision.
//
// The package never imports an API group, and no value holds a resourceVersion, a generation or a time: two objects that mean the same
// lower to equal values, and that equality is what stops a change from spreading.
package model
