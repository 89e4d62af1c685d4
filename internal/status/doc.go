// Package status is what weft writes back to the objects it was told of: the load-balancer addresses of Services, and an Event for each
// finding. It writes only its own entries, only when they differ from what the API server has, and never over an edit that it has not seen.
//
// It decides nothing: what should be there is told to a [Writer] and to [Events], by whoever may write. Both keep the latest for each object
// whether they run or not, so their queues are bounded by the number of objects, and both write at a bounded rate.
package status
