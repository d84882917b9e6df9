package matrix

import "crypto/rand"

// RandomString is n letters and digits from a secure source: about 5.95 bits
// each.
func RandomString(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	const fair = 256 - 256%len(letters) // bytes from here on would favour some letters
	s := make([]byte, 0, n)
	var random [64]byte
	for len(s) < n {
		rand.Read(random[:]) // never fails
		for _, b := range random {
			if int(b) < fair && len(s) < n {
				s = append(s, letters[int(b)%len(letters)])
			}
		}
	}
	return string(s)
}
