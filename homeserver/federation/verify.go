package federation

import (
	"context"
	"encoding/json"
	"strings"

	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// maxSignatures is how many signatures of one server are looked at.
const maxSignatures = 8

// Presented is a request as another server has made it.
type Presented struct {
	Method, URI    string
	Authorizations []string // headers, of any scheme
	Content        []byte   // nil: none
	RemoteAddr     string
}

// Authenticate is which server has made a request (Server-Server API § Request Authentication). Errors:
// M_UNAUTHORIZED, M_FORBIDDEN for servers that the operator has nothing to do with, M_LIMIT_EXCEEDED,
// M_NOT_JSON.
func (k *KeyRing) Authenticate(ctx context.Context, p Presented) (matrix.ServerName, error) {
	presented, err := k.authorizations(p)
	if err != nil {
		return "", err
	}
	origin := presented[0].Origin
	if !k.options.Client.Allowed(origin) {
		return "", matrix.Forbidden("This server has nothing to do with %s.", origin)
	}
	request := SignedRequest{Method: p.Method, URI: p.URI, Origin: origin, Destination: k.options.ServerName, Content: p.Content}
	now := k.options.Now().UnixMilli()
	for _, a := range presented {
		key, wrong := k.find(ctx, origin, need{id: a.Key, at: now, now: true}, p.RemoteAddr)
		if wrong == nil {
			if wrong = request.verify(a, key); wrong == nil {
				k.options.Client.Heard(origin)
				return origin, nil
			}
			if matrix.Code(wrong) == "M_FORBIDDEN" {
				wrong = matrix.Unauthorized("The signature of %s with the key %s is wrong.", origin, a.Key)
			}
		}
		err = wrong
	}
	return "", err
}

// authorizations are the headers of a request, which are signatures of one server.
func (k *KeyRing) authorizations(p Presented) ([]Authorization, error) {
	var list []Authorization
	for _, header := range p.Authorizations {
		if !IsAuthorization(header) {
			continue
		}
		a, err := ParseAuthorization(header)
		switch {
		case err != nil:
			return nil, matrix.Unauthorized("The Authorization header is wrong: %v.", err)
		case a.Destination != "" && a.Destination != k.options.ServerName:
			return nil, matrix.Unauthorized("The request is for %s, and this is %s.", a.Destination, k.options.ServerName)
		case a.Origin == k.options.ServerName:
			return nil, matrix.Unauthorized("This server does not ask itself.")
		case len(list) > 0 && list[0].Origin != a.Origin:
			return nil, matrix.Unauthorized("The request is signed by several servers.")
		case len(list) == maxSignatures:
			return nil, matrix.Unauthorized("The request has more than %d signatures.", maxSignatures)
		}
		list = append(list, a)
	}
	if len(list) == 0 {
		return nil, matrix.Unauthorized("The request is not signed by a server.")
	}
	return list, nil
}

// VerifyEvent checks the signatures that an event has to have (Server-Server API § Validating hashes and
// signatures on received events, and the room versions): M_FORBIDDEN if one is missing or wrong.
func (k *KeyRing) VerifyEvent(ctx context.Context, e *matrix.Event) error {
	for _, server := range signers(e) {
		if err := k.verifySignature(ctx, e, server); err != nil {
			return err
		}
	}
	return nil
}

// authoriser is the server whose user lets somebody join a restricted room, or empty.
func authoriser(e *matrix.Event) matrix.ServerName {
	var content struct {
		Authorised matrix.UserID `json:"join_authorised_via_users_server"`
	}
	if !e.Version.Restricted || e.Type != "m.room.member" || e.Membership() != "join" || json.Unmarshal(e.Content, &content) != nil {
		return ""
	}
	return content.Authorised.Server()
}

// signers are the servers whose signature an event needs.
func signers(e *matrix.Event) []matrix.ServerName {
	var content struct {
		ThirdParty json.RawMessage `json:"third_party_invite"`
		Authorised matrix.UserID   `json:"join_authorised_via_users_server"`
	}
	if e.Type == "m.room.member" {
		_ = json.Unmarshal(e.Content, &content) // what is no object has none of both
	}
	var servers []matrix.ServerName
	if e.Membership() != "invite" || content.ThirdParty == nil {
		servers = append(servers, e.Sender.Server())
	}
	if e.Version.EventIDFormat == roomversion.EventIDInEvent {
		if _, server, found := strings.Cut(string(e.ID), ":"); found && matrix.ServerName(server) != e.Sender.Server() {
			servers = append(servers, matrix.ServerName(server))
		}
	}
	if e.Version.Restricted && e.Membership() == "join" && content.Authorised != "" {
		servers = append(servers, content.Authorised.Server())
	}
	return servers
}

// needs are the keys with which a server says it has signed an event, those of them that are looked at.
func needs(e *matrix.Event, server matrix.ServerName) []need {
	ids := e.SignatureKeys(server)
	list := make([]need, 0, 1)
	for _, id := range ids[:min(len(ids), maxSignatures)] {
		if !validKeyID(id) {
			continue
		}
		n := need{id: id}
		if e.Version.EnforceKeyValidity {
			n.at = e.OriginServerTS
		}
		list = append(list, n)
	}
	return list
}

// verifySignature wants a good signature of a server, see checkSignatures, with keys that it is asked for if need be.
func (k *KeyRing) verifySignature(ctx context.Context, e *matrix.Event, server matrix.ServerName) error {
	if _, err := matrix.ParseServerName(string(server)); err != nil {
		return matrix.Forbidden("The event is of no server.")
	}
	err := checkSignatures(e, server, func(n need) ([]byte, error) { return k.find(ctx, server, n, "") })
	if err != nil {
		return err
	}
	return k.keep(ctx, server)
}

// checkSignatures wants a good signature of a server, and none that is wrong. Those with keys that are not known, or were not valid
// any more, for which find has M_UNAUTHORIZED, do not count.
func checkSignatures(e *matrix.Event, server matrix.ServerName, find func(need) ([]byte, error)) error {
	good := 0
	for _, n := range needs(e, server) {
		key, err := find(n)
		if matrix.Code(err) == "M_UNAUTHORIZED" {
			continue
		}
		if err == nil {
			err = e.VerifySignature(server, n.id, key)
		}
		if err != nil {
			return err
		}
		good++
	}
	if good == 0 {
		return matrix.Forbidden("The event has no signature of %s with a key that is known and was valid.", server)
	}
	return nil
}

// keep has the keys of a server stay as long as this one runs its rooms.
func (k *KeyRing) keep(ctx context.Context, server matrix.ServerName) error {
	known, err := k.ring(ctx, server)
	if err != nil || known.kept || server == k.options.ServerName {
		return err
	}
	err = k.options.DB.Update(ctx, func(tx *database.Tx) error { return k.options.Store.Keep(ctx, tx, server) })
	k.saves.Add(1)
	k.rings.Delete(server)
	return err
}
