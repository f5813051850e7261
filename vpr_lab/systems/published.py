"""The papers' own figures for their systems. Each is of other data than the lab's rows."""

from __future__ import annotations

from dataclasses import dataclass

DEMIXVPR = "Dogru, DeMixVPR"
COSPLACE = "Testa et al., CosPlace extended"
EXTENSIONS = "Carachino and Di Gangi, visual geo-localisation extensions"
PIASCO = "Piasco et al., Learning scene geometry"
CROSSLOCATE = "Tomesek et al., CrossLocate"


@dataclass(frozen=True)
class Published:
    """A paper's row. figures: percent, R@1 unless it says otherwise, with the data they are of."""

    paper: str
    figures: str


PUBLISHED = {
    "demixvpr/gem": Published(DEMIXVPR, "SF-XS val 77.5, test 42.6, Tokyo-XS 53.0"),
    "demixvpr/concat_gem": Published(DEMIXVPR, "SF-XS val 79.5, test 48.8, Tokyo-XS 65.1"),
    "demixvpr/deattvpr": Published(DEMIXVPR, "SF-XS val 77.0, test 41.4, Tokyo-XS 53.3"),
    "demixvpr/mixvpr": Published(DEMIXVPR, "SF-XS val 79.2, test 53.6, Tokyo-XS 66.0"),
    "demixvpr/demixvpr": Published(DEMIXVPR, "SF-XS val 82.4, test 57.2, Tokyo-XS 78.7"),
    "cosplace/baseline": Published(COSPLACE, "SF-XS test 52.2, Tokyo-XS 69.5, Tokyo-Night 49.5"),
    "cosplace/fda_grl": Published(COSPLACE, "SF-XS test 53.7, Tokyo-XS 70.5, Tokyo-Night 53.3"),
    "extensions/grl": Published(EXTENSIONS, "SF-XS test 54.7, Tokyo-XS 73.0, Tokyo-Night 58.1"),
    "extensions/geowarp": Published(EXTENSIONS, "SF-XS test 60.2, Tokyo-XS 76.2, Tokyo-Night 60.0 (ResNet-18)"),
    "extensions/efficientnet": Published(EXTENSIONS, "SF-XS test 63.9, Tokyo-XS 83.8, Tokyo-Night 73.3"),
    "extensions/sif": Published(EXTENSIONS, "SF-XS test 68.6, Tokyo-XS 86.3, Tokyo-Night 74.3"),
    "extensions/multiscale": Published(EXTENSIONS, "SF-XS test 68.6, Tokyo-XS 86.0, Tokyo-Night 79.0"),
    "piasco/rgb_mac": Published(PIASCO, "RobotCar sunny 56.3, long-term 62.5, winter 42.0"),
    "piasco/rgbplus_mac": Published(PIASCO, "RobotCar sunny 60.1, long-term 67.0, winter 41.1"),
    "piasco/rgbtd_mac": Published(PIASCO, "RobotCar sunny 64.0, long-term 67.0, winter 51.8"),
    "piasco/rgb_netvlad": Published(PIASCO, "RobotCar, all three, first place right 62.6 / 71.5"),
    "piasco/rgbtd_netvlad": Published(PIASCO, "RobotCar, all three, first place right 63.0 / 72.2"),
    "piasco/night_decoder": Published(PIASCO, "RobotCar night 13 before, 23 after"),
    "crosslocate/depth": Published(CROSSLOCATE, "Switzerland within 1 km 38.7, R@100 72.6"),
}
