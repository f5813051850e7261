"""CrossLocate: a photograph is found among views rendered from a 3D model (Tomesek et al., WACV 2022)."""
