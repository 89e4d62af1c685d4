//go:build race

package transport

// underRace: sync.Pool forgets at random under the race detector, so allocations are not counted.
const underRace = true
