package routing

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Samples is how many requests a share is measured with.
const Samples = 2000

// Asker answers requests: a [Client], or what wraps one.
type Asker interface {
	Ask(ctx context.Context, q Case) (Answer, error)
}

// Check asks as often as the case needs and tells the first thing that is not as expected.
func Check(ctx context.Context, a Asker, q Case) error {
	first, err := a.Ask(ctx, q)
	if err != nil {
		return err
	}
	if err := q.compare(first); err != nil {
		return err
	}
	if len(q.To) > 0 {
		if err := q.reaches(ctx, a); err != nil {
			return err
		}
	}
	if len(q.Shares) > 0 {
		return q.measure(ctx, a)
	}
	return nil
}

// compare looks at one answer.
func (c *Case) compare(a Answer) error {
	if a.Closed != c.Closed {
		return fmt.Errorf("closed without an answer: %v, want %v", a.Closed, c.Closed)
	}
	if c.Status != 0 && a.Status != c.Status {
		return fmt.Errorf("status %d (%s), want %d", a.Status, strings.TrimSpace(a.Body), c.Status)
	}
	if c.GRPC >= 0 && a.GRPC != c.GRPC {
		return fmt.Errorf("gRPC status %d (HTTP %d %s), want %d", a.GRPC, a.Status, a.Header.Get("grpc-message"), c.GRPC)
	}
	if c.Text != nil && strings.TrimSpace(a.Body) != *c.Text {
		return fmt.Errorf("body %q, want %q", a.Body, *c.Text)
	}
	for _, f := range c.Answers {
		got, ok := a.Header.Get(f.Name), len(a.Header.Values(f.Name)) > 0
		if err := f.compare("the answer's", got, ok); err != nil {
			return err
		}
	}
	if len(c.Sees) > 0 && a.Seen == nil {
		return fmt.Errorf("no endpoint answered (status %d)", a.Status)
	}
	for _, f := range c.Sees {
		got, ok := "", true
		switch f.Name {
		case ":method":
			got = a.Seen.Method
		case ":path":
			got = a.Seen.Path
		case ":host":
			got = a.Seen.Host
		default:
			got, ok = a.Seen.Headers[f.Name]
		}
		if err := f.compare("the endpoint sees", got, ok); err != nil {
			return err
		}
	}
	return nil
}

func (f Field) compare(whose, got string, there bool) error {
	switch {
	case f.Value == nil && there:
		return fmt.Errorf("%s %s %q, want none", whose, f.Name, got)
	case f.Value != nil && !there:
		return fmt.Errorf("%s %s is missing, want %q", whose, f.Name, *f.Value)
	case f.Value != nil && *f.Value != got:
		return fmt.Errorf("%s %s %q, want %q", whose, f.Name, got, *f.Value)
	}
	return nil
}

// reaches asks until every endpoint has answered, or so often that one is surely missing.
func (c *Case) reaches(ctx context.Context, a Asker) error {
	seen := map[string]bool{}
	for try := 0; len(seen) < len(c.To) || try < 2*len(c.To); try++ {
		if try > 40*len(c.To) {
			return fmt.Errorf("after %d requests only %v answered, want %v", try, keys(seen), c.To)
		}
		name, err := c.who(ctx, a)
		if err != nil {
			return err
		}
		if !slices.Contains(c.To, name) {
			return fmt.Errorf("%q answered, want one of %v", name, c.To)
		}
		seen[name] = true
	}
	return nil
}

// measure compares shares with many requests; a difference of less than five standard deviations is chance.
func (c *Case) measure(ctx context.Context, a Asker) error {
	count := map[string]int{}
	for range Samples {
		name, err := c.who(ctx, a)
		if err != nil {
			return err
		}
		count[name]++
	}
	for _, s := range c.Shares {
		got := 0
		for _, name := range s.Of {
			got += count[name]
		}
		want := s.Share * Samples
		if math.Abs(float64(got)-want) > 5*math.Sqrt(want*(1-s.Share))+0.5 {
			return fmt.Errorf("%v answered %d of %d, want %.0f: %v", s.Of, got, Samples, want, count)
		}
	}
	return nil
}

func (c *Case) who(ctx context.Context, a Asker) (string, error) {
	answer, err := a.Ask(ctx, *c)
	if err != nil {
		return "", err
	}
	if answer.Seen == nil {
		return "", fmt.Errorf("no endpoint answered: status %d, closed %v", answer.Status, answer.Closed)
	}
	return answer.Seen.Name, nil
}

func keys(m map[string]bool) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
