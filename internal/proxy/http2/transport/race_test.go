//go:build race

package transport

// raceEnabled: sync.Pool loses things at random then, and allocations mean nothing.
const raceEnabled = true
