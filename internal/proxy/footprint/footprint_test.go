package footprint

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// resident is how much of files and of its own memory a process holds, in bytes.
func resident(t *testing.T) (file, own int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("needs /proc")
	}
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "RssFile: %d kB", &file)
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &own)
	}
	return file << 10, own << 10
}

// What was read of the program, and memory that nobody holds any more, is given back, and the program goes on.
func TestSettle(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	garbage := make([]byte, 32<<20)
	for i := 0; i < len(garbage); i += 4096 {
		garbage[i] = 1
	}
	runtime.KeepAlive(garbage)
	file, own := resident(t)
	Settle()
	fileAfter, ownAfter := resident(t)
	if ownAfter > own-30<<20 {
		t.Errorf("%d bytes of its own, and then %d", own, ownAfter)
	}
	if fileAfter > file-256<<10 {
		t.Errorf("%d bytes of %s, and then %d", file, program, fileAfter)
	}
	if text := fmt.Sprint(strings.Repeat("a", 3), 7); text != "aaa7" {
		t.Error(text)
	}
}
