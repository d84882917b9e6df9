-- Content that is hidden, by the hash of its bytes: whoever uploads it again is
-- refused, and what comes of it from other servers is hidden too. It stays when
-- its media are deleted; origin and media_id are those by which it was hidden.
CREATE TABLE media_quarantine (
    hash           BYTEA PRIMARY KEY,
    origin         TEXT NOT NULL,
    media_id       TEXT NOT NULL,
    quarantined_by TEXT NOT NULL
);

-- What was hidden by its ID so far. Content that is protected under any ID stays.
INSERT INTO media_quarantine (hash, origin, media_id, quarantined_by)
SELECT m.hash, MIN(m.origin), MIN(m.media_id), MIN(m.quarantined_by)
FROM media m
WHERE m.hash IS NOT NULL AND m.quarantined_by IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM media p WHERE p.hash = m.hash AND p.protected)
GROUP BY m.hash;

UPDATE media
SET quarantined_by = (SELECT q.quarantined_by FROM media_quarantine q WHERE q.hash = media.hash)
WHERE quarantined_by IS NULL AND NOT protected AND hash IN (SELECT q.hash FROM media_quarantine q);
