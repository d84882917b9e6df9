package sender

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"trestle/appservice"
	"trestle/internal/matrix"
)

// maxPingBody is how much of a wrong answer to a ping is shown.
const maxPingBody = 4096

// Ping asks a service whether it is there and knows the homeserver's token, and
// returns how long it took (§ Pinging). One that answers is sent what waits for
// it at once. The errors are M_URL_NOT_SET, M_BAD_STATUS, M_CONNECTION_TIMEOUT
// and M_CONNECTION_FAILED; M_NOT_FOUND if there is no such service.
func (s *Service) Ping(ctx context.Context, id, transactionID string) (time.Duration, error) {
	q, err := s.operated(id)
	if err != nil {
		return 0, err
	}
	body := []byte("{}")
	if transactionID != "" {
		body, _ = json.Marshal(map[string]string{"transaction_id": transactionID}) // strings always encode
	}
	_, link := q.to()
	ctx, cancel := context.WithTimeout(ctx, s.opts.PingTimeout)
	defer cancel()
	begin := time.Now()
	a, err := link.do(ctx, request{method: http.MethodPost, path: appservice.PingPath(), body: body})
	if err != nil {
		return 0, unreachable(id, err)
	}
	if !a.ok() {
		return 0, badStatus(id, a)
	}
	s.Retry(id)
	return time.Since(begin), nil
}

// unreachable is the answer when a service cannot be asked.
func unreachable(id string, err error) error {
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return matrix.NewError(http.StatusGatewayTimeout, "M_CONNECTION_TIMEOUT", "The application service %s did not answer in time.", id)
	}
	return matrix.NewError(http.StatusBadGateway, "M_CONNECTION_FAILED", "The application service %s cannot be reached: %s.", id, problem(err.Error()))
}

func badStatus(id string, a answer) *matrix.Error {
	body := strings.ToValidUTF8(string(a.body[:min(len(a.body), maxPingBody)]), "\uFFFD")
	return matrix.NewError(http.StatusBadGateway, "M_BAD_STATUS", "The application service %s answered with status %d.", id, a.status).
		With("status", a.status).With("body", body)
}
