package http2

// allowance bounds how much of something a peer may do: a burst, refilled with time, and by work that is worth something to both sides. What an
// honest peer does is paid for by its requests and bodies, however busy it is; a flood is not.
type allowance struct {
	left, burst, perSecond int64
	refilled               int64 // nanoseconds
}

func newAllowance(burst, perSecond int64) allowance {
	return allowance{left: burst, burst: burst, perSecond: perSecond}
}

// spend takes one, at a time in nanoseconds since the connection began, and tells whether it was there.
func (a *allowance) spend(now int64) bool {
	if a.left == 0 {
		more := min(float64(now-a.refilled)/1e9*float64(a.perSecond), float64(a.burst))
		if more < 1 {
			return false
		}
		a.left, a.refilled = int64(more), now
	}
	a.left--
	return true
}

func (a *allowance) earn(n int64) { a.left = min(a.left+n, a.burst) }
