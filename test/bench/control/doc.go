// Command control measures what sidecars cost the control plane: how much of its CPU and memory they take, how many bytes each is sent, and how long a change
// takes to reach them all. The control plane is the real one, from objects to xDS, in a process of its own; the sidecars are as many connections as asked
// for, each of which subscribes as weft's proxy does. There is no API server in it: objects are put into the store.
package main
