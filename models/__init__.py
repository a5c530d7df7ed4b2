"""Networks and objectives of contrastive image translation; imports nothing but torch."""
