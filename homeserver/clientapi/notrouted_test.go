package clientapi_test

// notRouted are the operations that this server does not have. There are none
// left; an operation that is on the list and is served fails the test.
var notRouted = []string{}
