# prom/prometheus:v3.5.0
FROM base
COPY prometheus /bin/
RUN ln -s /bin/busybox /usr/local/bin/wget && install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
# Debian has another default, with the folder of its package.
ENTRYPOINT ["/bin/prometheus", "--storage.tsdb.path=data/"]
