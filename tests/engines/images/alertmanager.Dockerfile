# prom/alertmanager:v0.28.1
FROM base
COPY alertmanager /bin/
# The program of Debian reads its templates from files.
COPY alertmanager-templates /usr/share/prometheus/alertmanager
RUN install -d -o nobody -g nogroup /alertmanager
USER nobody
WORKDIR /alertmanager
# Debian has another default, with the folder of its package.
ENTRYPOINT ["/bin/alertmanager", "--storage.path=data/"]
