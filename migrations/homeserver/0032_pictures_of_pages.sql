-- Pictures of previewed pages are nobody's, and have a budget of their own:
-- this is what they take, and which of them nobody has asked for longest.
CREATE INDEX media_ownless ON media (origin, (COALESCE(used_at, created_at)), media_id, size)
    WHERE user_id IS NULL AND hash IS NOT NULL AND quarantined_by IS NULL AND NOT protected;

-- Of the answers about pages only the newest are kept.
CREATE INDEX url_previews_fetched ON url_previews (fetched_at, url_hash);
