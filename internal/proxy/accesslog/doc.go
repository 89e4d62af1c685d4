// Package accesslog writes one line for each exchange or connection that has ended.
//
// It owns the format, compiled from an access_log of Envoy's (file, stdout and stderr loggers with json_format, text_format or a text source;
// without a format Envoy's default line), and the writers, one a file, which never hold up who logs: lines go into a bounded buffer that a goroutine
// writes out, and what finds the buffer full is dropped and counted. It knows nothing of how an exchange runs: message.Info has what a line says.
//
// Package format has the commands that lines are made of. What has no value is null in JSON, "-" in text.
// Of a logger's filter, status_code_filter, not_health_check_filter (always true), response_flag_filter and duration_filter are understood.
package accesslog
