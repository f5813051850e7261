# A Jazzy workspace with this package, built and sourced. Not run yet: it was written where no container can be built.
#   docker build -t vpr_ros .
#   docker run --rm --net host -v $PWD/maps:/maps vpr_ros ros2 launch vpr_ros localize.launch.py map:=/maps/town.vprmap
FROM ros:jazzy
# What rosdep brings by pip goes beside Ubuntu's own packages, which Ubuntu refuses without this.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
WORKDIR /ws
COPY . src/vpr_ros
RUN ln -s vpr_ros/vpr_msgs src/vpr_msgs \
    && apt-get update && apt-get install -y python3-pip && pip install plotly && rosdep update \
    && rosdep install --from-paths src --ignore-src --dependency-types exec --dependency-types build \
        --dependency-types buildtool -y \
    && rm -rf /var/lib/apt/lists/* \
    && . /opt/ros/jazzy/setup.sh && colcon build --packages-select vpr_msgs vpr_ros
RUN printf '#!/bin/bash\nset -e\nsource /ws/install/setup.bash\nexec "$@"\n' > /entrypoint.sh && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "vpr_ros", "localize.launch.py", "--show-args"]
