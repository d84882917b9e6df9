package irc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"time"

	"trestle/internal/matrix"
)

// certificateYears is how long a certificate lasts: services know it by its fingerprint, and
// a new one would have to be registered by hand.
const certificateYears = 30

// newCertificate makes a key and a certificate of its own for a user, as PEM.
func newCertificate(user matrix.UserID, now time.Time) ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	name := string(user)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name[:min(len(name), 64)]},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(certificateYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: certificate}, {Type: "PRIVATE KEY", Bytes: key}} {
		if err := pem.Encode(&text, block); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

func parseCertificate(text []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(text, text)
	return &pair, err
}

// fingerprints are what services may want to have: they differ in the hash that they use.
func fingerprints(pair *tls.Certificate) string {
	certificate := pair.Certificate[0]
	long, usual, old := sha512.Sum512(certificate), sha256.Sum256(certificate), sha1.Sum(certificate)
	return "SHA-512: " + hex.EncodeToString(long[:]) + "\nSHA-256: " + hex.EncodeToString(usual[:]) + "\nSHA-1: " + hex.EncodeToString(old[:])
}
