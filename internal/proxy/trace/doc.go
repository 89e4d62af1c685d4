// Package trace is what a proxy has to do with distributed traces: it reads and writes where in a trace a request is (W3C Trace Context, and B3 in one
// field or several), decides which requests are traced, and sends spans to a collector as OTLP.
//
// It owns those formats, the queue and what is dropped. It never decides what a span tells: that is for whoever runs the exchange. OTLP's messages are
// written by hand, since a proxy writes one of them and reads none.
package trace
