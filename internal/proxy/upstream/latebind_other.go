//go:build !linux

package upstream

import "syscall"

// lateBind is known on Linux only.
func lateBind(string, string, syscall.RawConn) error { return nil }
