// Package format translates texts between IRC's formatting codes and Matrix'
// org.matrix.custom.html (Client-Server API § m.room.message msgtypes). It is
// pure; hostile input costs linear time and bounded depth and size.
package format
