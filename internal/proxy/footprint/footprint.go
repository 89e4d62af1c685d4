// Package footprint gives back the memory that only starting a program needed.
//
// It knows nothing of what the program is, and changes nothing but how much of it is in memory: what is needed again comes back by itself.
package footprint

import "runtime/debug"

// Settle collects garbage, gives the kernel what is free, and has it forget that parts of the program's file were looked at. Those that are looked at again are
// in its page cache. It takes some milliseconds, so it is for when starting is over.
func Settle() {
	debug.FreeOSMemory()
	forget()
}
