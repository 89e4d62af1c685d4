// Package derive owns memoised functions over a store: what each read, whether its result still holds, and who is told
// when it changes. It never knows what the values mean: no type of Kubernetes or of traffic appears here.
//
// # The idea
//
// A [Query] is an ordinary function from a key to an immutable value. Whatever it reads through its [Reader] (a row of a
// table by key, an index by key, a row that does not exist, another query) becomes an edge. A commit marks the cells it
// touched. Results that read a touched cell are dirty; results that read those are suspects. Suspects are checked in
// the order in which they read things, and run again only if something they read really has another value. A result that
// comes out equal to the one before stops the wave: that is the early cut-off, and the equality given to [Define] decides it.
//
// So a change costs what depends on it, and nobody keeps cache keys by hand.
//
// # The words
//
//   - [DB] is the engine: the revision counter, every result, one lock.
//   - [Space] is the cells of one table or one index: the store's side of the edges. Only keys that were read have cells.
//   - [Query] and [Define]: a named function with an equality. Inside another query it is read with Get, from outside
//     with Read.
//   - [Reader] is how a function reads, and where it reports findings. It is valid during that one call only.
//   - [Feed] is a consumer's mailbox, holding the latest [Delta] of each of its subscriptions. It never blocks a commit.
//   - [KeySet] and [Family]: "this query for every key of that table". A family is followed with a cursor, so that a
//     thousand followers do not cost a thousand queue entries per change.
//
// # What to know when writing a query
//
// It must be a pure function of its key and of what it reads through the Reader: no clock, no randomness, no global, no
// map order. It must not change what it read, and its value must not change after it was returned.
//
// Its equality must leave out whatever does not change the meaning (generation, resourceVersion), and lists must be in a
// fixed order, or the cut-off never happens.
//
// An object that many results read for one small fact (a Node's zone, a Namespace's labels) is a hub. Read it through a
// small query of its own that returns just that fact: such a query reads only the store, is run first, and when the fact
// is unchanged none of the many is even looked at.
//
// "All services" is never one query, whose every run would cost the whole cluster; it is a Family.
//
// It must not call Read, Commit, Subscribe or Follow: they take the engine's lock, which its caller holds.
//
// A query that (perhaps through others) reads itself is a cycle. Every member of a cycle gets the value that
// [Query.OnCycle] gives, whichever was asked first. A query that panics keeps the zero value and carries an error finding
// until something that it read changes; everything else stands.
package derive
