package http1

import "strconv"

// Error is a message that cannot be taken. These are constants: whoever decides on one compares it, or takes its status.
type Error struct {
	// Status is what a client is told; where the message was a response it means that the server broke the protocol (502).
	Status int
	// Detail is a short name for logs and metrics that stays the same between versions.
	Detail string
}

// Error is the status and the detail.
func (e *Error) Error() string { return "http1: " + e.Detail + " (" + strconv.Itoa(e.Status) + ")" }

// What can be wrong with the first line.
var (
	ErrRequestLine       = &Error{400, "request_line"}
	ErrStatusLine        = &Error{502, "status_line"}
	ErrMethod            = &Error{400, "method"}
	ErrTarget            = &Error{400, "target"}
	ErrUserinfo          = &Error{400, "userinfo"}
	ErrVersion           = &Error{505, "version"}
	ErrRequestLineLength = &Error{414, "request_line_length"}
)

// What can be wrong with fields.
var (
	ErrLineEnd      = &Error{400, "line_end"} // LF without CR, or CR without LF
	ErrFieldName    = &Error{400, "field_name"}
	ErrFieldValue   = &Error{400, "field_value"}
	ErrFieldFold    = &Error{400, "field_fold"} // a line that goes on with the one above
	ErrHeadLength   = &Error{431, "head_length"}
	ErrFieldCount   = &Error{431, "field_count"}
	ErrHost         = &Error{400, "host"}
	ErrExpect       = &Error{417, "expect"}
	ErrConnection   = &Error{400, "connection"}
	ErrUnasked      = &Error{502, "switched_unasked"} // 101 without a request to upgrade
	ErrTrailerField = &Error{400, "trailer_field"}
)

// What can be wrong with the framing of a body.
var (
	ErrContentLength     = &Error{400, "content_length"}
	ErrContentLengths    = &Error{400, "content_length_repeated"}
	ErrLengthAndChunked  = &Error{400, "content_length_and_transfer_encoding"}
	ErrTransferEncoding  = &Error{501, "transfer_encoding"} // one that is not known
	ErrTransferEncodings = &Error{400, "transfer_encoding_form"}
	ErrConnectBody       = &Error{400, "connect_body"}
	ErrChunkSize         = &Error{400, "chunk_size"}
	ErrChunkExtension    = &Error{400, "chunk_extension"}
	ErrChunkEnd          = &Error{400, "chunk_end"}
)

// ErrUnwritable is a message of ours that has no form in HTTP/1: a field with a line end in it, say. Nothing was written.
var ErrUnwritable = &Error{500, "unwritable"}
