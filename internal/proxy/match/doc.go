// Package match compiles Envoy's matchers of strings, header fields, query parameters and fractions, for whoever finds them in a resource: routes, filters.
//
// A compiled matcher never changes and allocates nothing when it matches. Letters are folded as in ASCII, since names and tokens of HTTP are ASCII.
// Regular expressions are RE2, in the form that package regexp takes, must match the whole of a value, and are limited in size when they are compiled.
// The package knows nothing of routes, and never changes a message but to keep the joined value of a repeated field in its arena.
package match
