package supervisor

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// childrenOf maps the children of the lab's process 1 from their number in the
// lab to their number here.
func childrenOf(init int) (map[int]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	pids := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // ended meanwhile
		}
		if parent, inner, ok := numbers(status); ok && parent == init {
			pids[inner] = pid
		}
	}
	return pids, nil
}

// numbers reads a process's parent and its number one PID namespace below the
// reader's (proc_pid_status(5), PPid and NSpid).
func numbers(status []byte) (parent, inner int, ok bool) {
	var parentFound, innerFound bool
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(value)
		var err error
		switch {
		case name == "PPid" && len(fields) == 1:
			parent, err = strconv.Atoi(fields[0])
			parentFound = err == nil
		case name == "NSpid" && len(fields) >= 2:
			inner, err = strconv.Atoi(fields[1])
			innerFound = err == nil
		}
	}
	return parent, inner, parentFound && innerFound
}
