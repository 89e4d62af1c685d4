package footprint

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// forget unmaps the pages of the program's file that cannot be written: they are as they are in the file. Starting goes through nearly all of them, for
// types and tables of what may never be used.
func forget() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		var start, end uintptr
		var perms, offset, device, inode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s", &start, &end, &perms, &offset, &device, &inode); n < 6 || perms[1] == 'w' || !strings.HasSuffix(strings.TrimSuffix(line, "\n"), " "+self) {
			continue
		}
		_, _, _ = syscall.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED) // if it cannot be had, nothing is lost
	}
}
