package measure

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// done is what wrk is asked to say at the end: requests, bytes, answers that are no 2xx or 3xx, and connections that failed.
const done = `done = function(s) print("sums", s.requests, s.bytes, s.errors.status, s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout) end`

var sums = regexp.MustCompile(`(?m)^sums\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$`)

// Wrk asks for a URL on kept connections, as fast as it is answered, and gives how many requests were. Every answer must be 200 and have bodyBytes. The
// length counts in whole seconds, and is one at least.
func Wrk(ctx context.Context, at Place, url string, connections, bodyBytes int, length time.Duration, headers ...string) (requests float64, err error) {
	script, err := os.CreateTemp("", "weft-bench-*.lua")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(script.Name()) }()
	_, err = script.WriteString(done)
	if err := firstOf(err, script.Close()); err != nil {
		return 0, err
	}
	args := []string{"-t1", "-c" + strconv.Itoa(connections), "-d" + strconv.FormatFloat(max(1, length.Seconds()), 'f', 0, 64) + "s", "--timeout", "30s", "-s", script.Name()}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	out, err := Output(ctx, at, "wrk", append(args, url)...)
	if err != nil {
		return 0, err
	}
	m := sums.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk does not say how many requests: %s", out)
	}
	var n [4]float64 // requests, bytes, bad, failed
	for i := range n {
		if n[i], err = strconv.ParseFloat(m[i+1], 64); err != nil {
			return 0, err
		}
	}
	switch {
	case n[2] > 0 || strings.Contains(out, "Non-2xx"):
		return 0, fmt.Errorf("not every answer is 200: %s", out)
	case n[3] > 0:
		return 0, fmt.Errorf("connections failed: %s", out)
	case n[1] < n[0]*float64(bodyBytes):
		return 0, fmt.Errorf("%.0f bytes are too few for %.0f answers of %d: %s", n[1], n[0], bodyBytes, out)
	}
	return n[0], nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
