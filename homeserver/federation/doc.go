// Package federation is how this server and others know each other: requests
// that are signed, the keys that signatures are verified with, what is asked of
// other servers on behalf of users here, and what is asked of them about rooms
// (Server-Server API).
//
// Everything that comes from another server is hostile until it is verified, and
// after that it is still only what that server says: answers are bounded in size
// and time, and rebuilt field by field.
package federation
