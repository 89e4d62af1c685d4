package routing

// difference is a case that one way decides otherwise, and why that is as it should be.
type difference struct {
	way, file string
	line      string // of the request, as in the file
	reason    string
}

// differences is all of them.
var differences = []difference{
	{"envoy", "edge", "GET http://edge.test/forwarded", "Envoy takes a client on loopback for itself and writes its own address into x-forwarded-for"},
}

// accepted gives the reason why a way may decide a case otherwise; "" is that it may not.
func accepted(way, file string, c Case) string {
	for _, d := range differences {
		if d.way == way && d.file == file && d.line == c.Method+" "+c.URL.String() {
			return d.reason
		}
	}
	return ""
}
