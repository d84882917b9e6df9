-- What the directory is searched by: name, topic and alias in lower case, as
-- far as the database knows it; the server writes it at every change.
ALTER TABLE rooms ADD COLUMN search TEXT;
UPDATE rooms SET search = LOWER(COALESCE(name, '') || ' ' || COALESCE(topic, '') || ' ' || COALESCE(canonical_alias, ''));
