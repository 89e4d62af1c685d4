// Package socket reads and writes TCP connections with calls to the kernel that the runtime is not told of. They do not wait, so there is nothing to look
// after, and being told costs more than it looks: with few processors its monitor thread stays awake for a busy connection.
//
// It is what stands below TLS and HTTP/2. It buffers nothing, and knows nothing of the bytes.
package socket

// empty is what a read gives that is not to wait and found nothing.
type empty struct{}

// ErrEmpty is a read that found nothing and was not to wait. It is a timeout, and what reads through crypto/tls may read again after it.
var ErrEmpty error = empty{}

func (empty) Error() string   { return "nothing to read" }
func (empty) Timeout() bool   { return true }
func (empty) Temporary() bool { return true }
