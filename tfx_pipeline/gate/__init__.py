"""How a candidate is measured, compared and judged; nothing here knows TFX."""
