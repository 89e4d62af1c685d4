package routing

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// File is the objects and cases of one file.
type File struct {
	Name    string
	Objects string // YAML documents
	Cases   []Case
}

// Case is one request and what is expected of it.
type Case struct {
	Line    int
	Comment string
	Method  string // of HTTP, or GRPC, TCP, TLS
	URL     *url.URL
	Port    uint16 // as declared
	Headers [][2]string
	Body    string

	Status  int // 0: not said
	GRPC    int // -1: not said
	To      []string
	Shares  []Share
	Rule    string
	Sees    []Field
	Answers []Field
	Text    *string
	Closed  bool
}

// Share is how much of the traffic some endpoints get, of 1.
type Share struct {
	Of    []string
	Share float64
}

// Field is a header, or a part of the request's head, and the value it must have; nil: it must not be there.
type Field struct {
	Name  string
	Value *string
}

// String names the case in test output.
func (c Case) String() string {
	var with strings.Builder
	for _, h := range c.Headers {
		fmt.Fprintf(&with, " %s=%s", h[0], h[1])
	}
	return fmt.Sprintf("%d %s %s%s", c.Line, c.Method, c.URL, with.String())
}

// Load reads every file of cases in a folder.
func Load(dir string) (files []File, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f, err := Parse(strings.TrimSuffix(filepath.Base(name), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// Parse reads one file.
func Parse(name, text string) (File, error) {
	f := File{Name: name}
	section, comment := "", ""
	var objects strings.Builder
	for i, line := range strings.Split(text, "\n") {
		fail := func(err error) (File, error) { return f, fmt.Errorf("%s:%d: %q: %w", name, i+1, line, err) }
		if title, ok := strings.CutPrefix(line, "-- "); ok {
			section = strings.TrimSuffix(title, " --")
			continue
		}
		switch section {
		case "objects":
			objects.WriteString(line + "\n")
			continue
		case "cases":
		default:
			if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
				return fail(fmt.Errorf("text outside of a section"))
			}
			continue
		}
		var last *Case
		if len(f.Cases) > 0 {
			last = &f.Cases[len(f.Cases)-1]
		}
		switch {
		case strings.TrimSpace(line) == "":
			comment = ""
		case strings.HasPrefix(line, "#"):
			comment = strings.TrimSpace(line[1:])
		case strings.HasPrefix(line, "> ") && last != nil:
			if err := last.ask(line[2:]); err != nil {
				return fail(err)
			}
		case strings.HasPrefix(line, "< ") && last != nil:
			if err := last.expect(line[2:]); err != nil {
				return fail(err)
			}
		default:
			c, err := request(line)
			if err != nil {
				return fail(err)
			}
			c.Line, c.Comment = i+1, comment
			f.Cases = append(f.Cases, c)
		}
	}
	f.Objects = objects.String()
	for _, c := range f.Cases {
		if c.Status == 0 && c.GRPC < 0 && !c.Closed && c.Text == nil && len(c.To)+len(c.Shares)+len(c.Sees)+len(c.Answers) == 0 {
			return f, fmt.Errorf("%s:%d: %v expects nothing", name, c.Line, c)
		}
	}
	return f, nil
}

// request reads the line that begins a case.
func request(line string) (c Case, err error) {
	method, target, ok := strings.Cut(line, " ")
	if !ok {
		return c, fmt.Errorf("want METHOD URL")
	}
	c.Method, c.GRPC = method, -1
	if method == "TCP" || method == "TLS" {
		target = strings.ToLower(method) + "://" + target
	}
	if c.URL, err = url.Parse(target); err != nil {
		return c, err
	}
	port := c.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[c.URL.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return c, fmt.Errorf("the port %q: %w", port, err)
	}
	c.Port = uint16(n)
	return c, nil
}

// ask reads a line about the request.
func (c *Case) ask(text string) error {
	if body, ok := strings.CutPrefix(text, "body "); ok {
		c.Body = body
		return nil
	}
	name, value, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("want a header, or body TEXT")
	}
	c.Headers = append(c.Headers, [2]string{name, strings.TrimSpace(value)})
	return nil
}

// expect reads a line about the answer.
func (c *Case) expect(text string) (err error) {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "to":
		c.To = append(c.To, strings.Fields(rest)...)
	case "share":
		names := strings.Fields(rest)
		if len(names) < 2 {
			return fmt.Errorf("want NAME... PERCENT%%")
		}
		percent, err := strconv.ParseFloat(strings.TrimSuffix(names[len(names)-1], "%"), 64)
		if err != nil {
			return err
		}
		c.Shares = append(c.Shares, Share{Of: names[:len(names)-1], Share: percent / 100})
	case "rule":
		c.Rule = rest
	case "sees":
		c.Sees = append(c.Sees, field(rest))
	case "header":
		c.Answers = append(c.Answers, field(rest))
	case "no":
		c.Answers = append(c.Answers, field("no "+strings.TrimPrefix(rest, "header ")))
	case "body":
		c.Text = &rest
	case "closed":
		c.Closed = true
	case "grpc":
		c.GRPC, err = strconv.Atoi(rest)
	default:
		c.Status, err = strconv.Atoi(word)
	}
	return err
}

// field reads "no NAME", "NAME: VALUE" or, for parts of the request's head, "path VALUE".
func field(text string) Field {
	if name, ok := strings.CutPrefix(text, "no "); ok {
		return Field{Name: strings.ToLower(name)}
	}
	for _, part := range []string{"method", "path", "host"} {
		if value, ok := strings.CutPrefix(text, part+" "); ok {
			return Field{Name: ":" + part, Value: &value}
		}
	}
	name, value, _ := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	return Field{Name: strings.ToLower(name), Value: &value}
}
