package accounts

import (
	"context"
	"net/url"

	"trestle/internal/matrix"
)

// SignUpStages are the stages by which people register on a page of the
// server, all at once. There are none where registration is closed, or where
// no flow goes through pages alone.
func (s *Service) SignUpStages() []PageStage {
	operation, err := s.RegistrationOperation()
	if err != nil {
		return nil
	}
	for _, flow := range operation.Flows {
		var stages []PageStage
		for _, name := range flow {
			if stage, err := s.PageStage(name); err == nil {
				stages = append(stages, stage)
			}
		}
		if len(stages) == len(flow) {
			return stages
		}
	}
	return nil
}

// SignUp makes the account of somebody who has filled in the page of all
// stages.
func (s *Service) SignUp(ctx context.Context, username, password string, form url.Values, remoteAddr string) (matrix.UserID, error) {
	stages := s.SignUpStages()
	switch {
	case stages == nil:
		return "", registrationClosed()
	case username == "":
		return "", matrix.InvalidUsername("A user name cannot be empty.")
	}
	if err := s.passwords.check(password); err != nil {
		return "", err
	}
	r := Registration{Username: username, Password: password, Proofs: Proofs{}}
	if _, err := s.CheckRegistration(ctx, r); err != nil {
		return "", err
	}
	for _, stage := range stages {
		if _, err := stage.Submit(ctx, form, remoteAddr); err != nil {
			return "", err
		}
		r.Proofs[stage.Name()] = pageProof(stage, form)
	}
	login, err := s.Register(ctx, r)
	if err != nil {
		return "", err
	}
	return login.UserID, nil
}
