package homeserver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"trestle/homeserver/api"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An Operator speaks to the operator's API of a server: to the one that runs
// or, if none does, to one of its own that serves nobody else. Close it.
type Operator struct {
	key   []byte
	base  string
	http  *http.Client
	close func()
	alone bool
}

// NewOperator reads the server's signing key: whoever can do that may do
// anything, and needs no account.
func NewOperator(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Operator, error) {
	key, _, err := config.SigningKey(cfg.SigningKey)
	if err != nil {
		return nil, err
	}
	o := &Operator{key: operatorKey(key), base: "http://trestle", close: func() {}}
	for _, address := range cfg.Listen {
		dial, secure, err := dialer(cfg, address)
		if err != nil {
			return nil, err
		}
		connection, err := dial(ctx, "", "")
		if err != nil {
			continue // nobody is there
		}
		connection.Close()
		transport := &http.Transport{DialContext: dial, TLSClientConfig: secure}
		if secure != nil {
			o.base = "https://trestle"
		}
		o.http, o.close = &http.Client{Transport: transport}, transport.CloseIdleConnections
		return o, nil
	}
	alone := *cfg
	// They are told when the server runs, and so are other servers.
	alone.AppServices, alone.FederationListen = nil, nil
	server, err := Open(ctx, &alone, log)
	if cfg.Cluster != "" && errors.Is(err, database.ErrLocked) {
		return nil, fmt.Errorf("the server runs, but none of its processes is here; do this where one is: %w", err)
	}
	if err != nil {
		return nil, err
	}
	server.registrar.Offline(cfg.AppServices)
	o.alone = true
	o.http, o.close = &http.Client{Transport: inProcess{server.Handler()}}, server.Close
	return o, nil
}

// dialer dials a listener of this server, whatever the request says.
func dialer(cfg *config.Config, address string) (func(ctx context.Context, network, address string) (net.Conn, error), *tls.Config, error) {
	network := "tcp"
	var secure *tls.Config
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	} else if plain, ok := strings.CutPrefix(address, "tls:"); ok {
		var err error
		if secure, err = ownCertificate(cfg.TLSCert); err != nil {
			return nil, nil, err
		}
		address = plain
	}
	d := &net.Dialer{Timeout: 2 * time.Second}
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, network, address) }, secure, nil
}

// ownCertificate trusts the server's own certificate and no other, whatever
// names it has.
func ownCertificate(file string) (*tls.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &tls.Config{
		InsecureSkipVerify: true, // compared below
		VerifyPeerCertificate: func(certificates [][]byte, _ [][]*x509.Certificate) error {
			if len(certificates) == 0 || !bytes.Equal(certificates[0], block.Bytes) {
				return errors.New("the certificate is not that of this server")
			}
			return nil
		},
	}, nil
}

// inProcess answers requests without a network.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &captured{header: http.Header{}, status: http.StatusOK}
	r = r.Clone(r.Context())
	r.RemoteAddr, r.RequestURI = "127.0.0.1:0", r.URL.RequestURI()
	p.handler.ServeHTTP(w, r)
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r,
	}, nil
}

// captured is an answer in memory.
type captured struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *captured) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *captured) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *captured) Write(p []byte) (int, error) { return w.body.Write(p) }

// Alone reports whether no server runs.
func (o *Operator) Alone() bool { return o.alone }

// Close ends what NewOperator began.
func (o *Operator) Close() { o.close() }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// Do makes a request of the operator's API; into may be nil. What the server
// refuses is a [matrix.Error].
func (o *Operator) Do(ctx context.Context, method, path string, body, into any) error {
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, o.base+path, content)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+operatorToken(o.key, time.Now()))
	response, err := o.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		var refusal struct {
			Code    string `json:"errcode"`
			Message string `json:"error"`
		}
		if json.Unmarshal(raw, &refusal) != nil || refusal.Code == "" {
			return fmt.Errorf("the server at %s answered %s; is it Trestle?", o.base, response.Status)
		}
		return matrix.NewError(response.StatusCode, refusal.Code, "%s", refusal.Message)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

const (
	operatorPrefix = "trestle_op_"
	// operatorTime is how long such a token is good, and how far two clocks
	// may be apart.
	operatorTime = time.Minute
)

func operatorKey(key matrix.SigningKey) []byte {
	sum := sha256.Sum256(append([]byte("operator\x00"), key.Private.Seed()...))
	return sum[:]
}

// operatorToken proves that somebody can read the signing key.
func operatorToken(key []byte, now time.Time) string {
	text := operatorPrefix + strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "_" + hex.EncodeToString(mac.Sum(nil))
}

// operators lets the commands of the operator in, beside all others.
type operators struct {
	api.Authenticator
	key  []byte
	user matrix.UserID // as whom they act
}

// Authenticate implements api.Authenticator.
func (o operators) Authenticate(ctx context.Context, presented api.Credentials) (api.Caller, error) {
	if rest, ok := strings.CutPrefix(presented.Token, operatorPrefix); ok {
		text, _, _ := strings.Cut(rest, "_")
		seconds, err := strconv.ParseInt(text, 10, 64)
		at := time.Unix(seconds, 0)
		age := time.Since(at)
		if err == nil && age.Abs() < operatorTime && hmac.Equal([]byte(presented.Token), []byte(operatorToken(o.key, at))) {
			return api.Caller{UserID: o.user, Admin: true, Unlimited: true}, nil
		}
		return api.Caller{}, matrix.UnknownToken(false)
	}
	return o.Authenticator.Authenticate(ctx, presented)
}

// authenticator verifies tokens of accounts, of application services and of
// the operator's commands.
func (s *Server) authenticator(accounts api.Authenticator) api.Authenticator {
	user := s.noticesUser()
	if user == "" {
		user = matrix.NewUserID("_server", s.cfg.ServerName)
	}
	return operators{accounts, s.operatorKey, user}
}
