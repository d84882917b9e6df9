// Package encryption lets a bridge take part in encrypted rooms: it has devices of the bridge's
// own users, opens what people have encrypted for these, and encrypts for the people it is told
// of, and for nobody else. Whom that is, and in which rooms, others decide. The cryptography is
// mautrix-go's; what its devices know is in the bridge's database.
package encryption
