//go:build !linux

package transport

// rawSockets: only the ways that every net.Conn has are taken here.
const rawSockets = false

func readFD(uintptr, []byte) (n int, again bool, err error)  { return 0, true, nil }
func writeFD(uintptr, []byte) (n int, again bool, err error) { return 0, true, nil }
func peekFD(uintptr) peek                                    { return quiet }
func closedFD(uintptr) bool                                  { return false }
func unacknowledged(uintptr) int64                           { return 0 }
