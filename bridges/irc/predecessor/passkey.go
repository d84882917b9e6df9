package predecessor

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha1" // RSA-OAEP as Node.js has it by default
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
)

// maxSealed bounds a sealed password: what a key of 16384 bits makes.
const maxSealed = 4096

// A Passkey opens the passwords of the store.
type Passkey struct{ key *rsa.PrivateKey }

// ParsePasskey reads an RSA key, PEM, of either form that OpenSSL writes.
func ParsePasskey(text []byte) (*Passkey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it holds no key in PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return &Passkey{key}, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := any.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it holds a key that is not RSA")
	}
	return &Passkey{key}, nil
}

// Open is what somebody has told the bridge. Salt and a space stand before it.
func (p *Passkey) Open(sealed string) (string, error) {
	if len(sealed) > maxSealed {
		return "", errors.New("it is too long")
	}
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", errors.New("it is not base64")
	}
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, p.key, raw, nil)
	if err != nil {
		return "", errors.New("the key does not open it")
	}
	_, password, ok := strings.Cut(string(plain), " ")
	if !ok || password == "" || oneLine(password) != password {
		return "", errors.New("what is in it is not a password")
	}
	return password, nil
}

// maxLong bounds what is sealed by a key of its own, as it is written: a private key.
const maxLong = 64 << 10

// OpenLong is a text that is too long to be sealed by the key alone: "lg:", what the key seals of a key for AES-256 and "_" and a vector,
// ":", and the text by these.
func (p *Passkey) OpenLong(sealed string) (string, error) {
	rest, ok := strings.CutPrefix(sealed, "lg:")
	head, body, both := strings.Cut(rest, ":")
	if !ok || !both || len(body) > maxLong {
		return "", errors.New("it is not sealed as long texts are")
	}
	secret, err := p.Open(head)
	if err != nil {
		return "", err
	}
	first, second, _ := strings.Cut(secret, "_")
	key, err := base64.StdEncoding.DecodeString(first)
	vector, alsoErr := base64.StdEncoding.DecodeString(second)
	text, bodyErr := base64.StdEncoding.DecodeString(body)
	if err := errors.Join(err, alsoErr, bodyErr); err != nil {
		return "", errors.New("it is not base64")
	}
	if len(key) != 32 || len(vector) != aes.BlockSize || len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return "", errors.New("its parts have other lengths")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	cipher.NewCBCDecrypter(block, vector).CryptBlocks(text, text)
	padding := int(text[len(text)-1])
	if padding == 0 || padding > aes.BlockSize {
		return "", errors.New("the key does not open it")
	}
	return string(text[:len(text)-padding]), nil
}
