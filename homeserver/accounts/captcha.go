package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"trestle/internal/matrix"
)

// CaptchaOptions are a service that tells people from machines, by the
// protocol of reCAPTCHA 2, which others speak too.
type CaptchaOptions struct {
	SiteKey  string
	Secret   string
	Verifier string // URL that answers whether a response is good
	Script   string // URL of what the page runs
	Class    string // of the element that the script fills in
	Client   *http.Client
}

// maxVerdict bounds the verifier's answer, in bytes.
const maxVerdict = 64 << 10

// captchaTimeout is how long the verifier may think.
const captchaTimeout = 10 * time.Second

// captchaStage is a puzzle.
type captchaStage struct{ options *CaptchaOptions }

func (captchaStage) Name() string { return StageCaptcha }

func (c captchaStage) Params(Operation, string) any {
	return map[string]string{"public_key": c.options.SiteKey}
}

func (c captchaStage) Check(ctx context.Context, a Attempt) (string, error) {
	var auth struct {
		Response string `json:"response"`
	}
	if err := a.read(&auth); err != nil {
		return "", err
	}
	return "", c.verify(ctx, auth.Response, a.RemoteAddr)
}

func (c captchaStage) Page(string) Page {
	return Page{Title: "Are you human?", Text: "Please solve this puzzle.", Captcha: c.options}
}

func (c captchaStage) Submit(ctx context.Context, form url.Values, remoteAddr string) (matrix.UserID, error) {
	response := form.Get("g-recaptcha-response")
	if response == "" {
		response = form.Get("h-captcha-response")
	}
	return "", c.verify(ctx, response, remoteAddr)
}

// verify asks the service. When that cannot be asked, nobody gets past: the
// cause goes to the log.
func (c captchaStage) verify(ctx context.Context, response, remoteAddr string) error {
	if response == "" {
		return retry("M_CAPTCHA_NEEDED", "The puzzle has to be solved first.")
	}
	ctx, cancel := context.WithTimeout(ctx, captchaTimeout)
	defer cancel()
	form := url.Values{"secret": {c.options.Secret}, "response": {response}, "remoteip": {remoteAddr}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.options.Verifier, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("ask the captcha's verifier: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := c.options.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the captcha's verifier: %w", err)
	}
	defer answer.Body.Close()
	var verdict struct {
		Success bool `json:"success"`
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the captcha's verifier: it answered %s", answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxVerdict)).Decode(&verdict); err != nil {
		return fmt.Errorf("read the captcha's verdict: %w", err)
	}
	if !verdict.Success {
		return retry("M_CAPTCHA_INVALID", "The puzzle was not solved.")
	}
	return nil
}
