package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Client asks the lab behind a socket.
type Client struct{ http *http.Client }

// NewClient returns a client of the socket of that path.
func NewClient(socket string) *Client { return &Client{&http.Client{Transport: Transport(socket)}} }

// Transport carries HTTP to a Unix socket, whatever host a URL names.
func Transport(socket string) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
}

// problem is the body of an answer that tells of a failure.
type problem struct {
	Error string `json:"error"`
}

// maxBodyBytes is more than any request or answer here has.
const maxBodyBytes = 4 << 20

// Status asks how the lab is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	if err := c.do(ctx, http.MethodGet, "/status", nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// Do asks for what a path stands for. in and out may be nil.
func (c *Client) Do(ctx context.Context, path string, in, out any) error {
	return c.do(ctx, http.MethodPost, path, in, out)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, &body)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("the lab does not answer: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes))
	if err != nil {
		return fmt.Errorf("the lab's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var p problem
		if err := json.Unmarshal(content, &p); err != nil || p.Error == "" {
			return fmt.Errorf("the lab answers %s", response.Status)
		}
		return errors.New(p.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(content, out)
}

// Handle makes a handler of a function from a request's body to an answer's.
func Handle[In, Out any](f func(r *http.Request, in In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		err := json.NewDecoder(io.LimitReader(r.Body, maxBodyBytes)).Decode(&in)
		if err != nil && !errors.Is(err, io.EOF) {
			answer(w, http.StatusBadRequest, problem{"request: " + err.Error()})
			return
		}
		out, err := f(r, in)
		if err != nil {
			answer(w, http.StatusInternalServerError, problem{err.Error()})
			return
		}
		answer(w, http.StatusOK, out)
	}
}

// Fail answers that something went wrong.
func Fail(w http.ResponseWriter, err error) {
	answer(w, http.StatusInternalServerError, problem{err.Error()})
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Who asked may be gone.
	_ = json.NewEncoder(w).Encode(body)
}

// Listen opens the socket, to its owner only. What a killed lab left is replaced.
func Listen(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(socket, 0o600)
}
