package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// document is one YAML document of a file, or one value of a JSON file.
type document struct {
	number int    // counted from 1, blank ones too
	line   int    // of the file, counted from 1, on which data begins
	data   []byte // as it stands in the file
}

// Documents splits a manifest, YAML or JSON by the ending of its name, into its documents; blank ones are left out.
func Documents(name string, data []byte) ([][]byte, error) {
	docs, err := splitYAML(data), error(nil)
	if strings.HasSuffix(name, ".json") {
		docs, err = splitJSON(data)
	}
	out := make([][]byte, len(docs))
	for i, d := range docs {
		out[i] = d.data
	}
	return out, err
}

// splitYAML splits a file at its document markers. A marker is "---" at the beginning of a line, also inside what looks like a block of
// text: YAML 1.2 section 9.1.2 has it so, which is why a broken document cannot swallow its neighbours.
func splitYAML(data []byte) []document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var docs []document
	cur := document{number: 1, line: 1}
	start, line := 0, 1
	flush := func(end int) {
		cur.data = data[start:end]
		if !blank(cur.data) {
			docs = append(docs, cur)
		}
	}
	for at := 0; at < len(data); line++ {
		end := len(data)
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			end = at + n + 1
		}
		if rest, ok := bytes.CutPrefix(data[at:end], []byte("---")); ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0) {
			if first := len(docs) == 0 && blank(data[start:at]); !first {
				flush(at)
				cur.number++
			}
			start, cur.line = at+3, line // what stands behind the marker belongs to the document
		}
		at = end
	}
	flush(len(data))
	return docs
}

// blank tells whether there is nothing but space, comments, directives and end markers.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "..." {
			return false
		}
	}
	return true
}

// splitJSON splits a file into its values. The error is what stands behind the last good one.
func splitJSON(data []byte) (docs []document, err error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		switch err := dec.Decode(&raw); {
		case err == io.EOF:
			return docs, nil
		case err != nil:
			at := dec.InputOffset()
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at = syntax.Offset
			}
			return docs, fmt.Errorf("line %d: %w", lineAt(data, int(at)), err)
		}
		line := lineAt(data, int(dec.InputOffset())-len(raw))
		docs = append(docs, document{number: len(docs) + 1, line: line, data: raw})
	}
}

func lineAt(data []byte, offset int) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), len(data))], []byte("\n"))
}

// toJSON gives the document as JSON. doubled is a complaint about a key that stands twice; the later counts, as for kubectl. An error names
// a line of the file.
func (d document) toJSON() (data []byte, doubled, err error) {
	data, err = yaml.YAMLToJSONStrict(d.data)
	if err == nil {
		return data, nil, nil
	}
	lax, laxErr := yaml.YAMLToJSON(d.data)
	if laxErr != nil {
		return nil, nil, d.inFile(laxErr)
	}
	return lax, d.inFile(err), nil
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// inFile turns the lines that a YAML error names from those of the document into those of the file.
func (d document) inFile(err error) error {
	s := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	s = strings.TrimPrefix(s, "yaml: ")
	s = strings.TrimPrefix(s, "unmarshal errors:")
	s = strings.Join(strings.Fields(s), " ")
	s = yamlLine.ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.Atoi(m[len("line "):])
		if err != nil {
			return m
		}
		return "line " + strconv.Itoa(n+d.line-1)
	})
	return errors.New(s)
}
